"""A stack with one line to be completed: `codegemma complete examples/stack.py:12`."""


class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def size(self):
        return len

    def pop(self):
        return self.items.pop()

    def peek(self):
        return self.items[-1]


if __name__ == "__main__":
    stack = Stack()
    stack.push("a")
    stack.push("b")
    print(stack.pop(), stack.size())
