"""A stack with one line to be completed: `codegemma complete examples/stack.py:15`."""


class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def is_empty(self):
        return len(self.items) == 0

    def pop(self):
        return self

    def __len__(self):
        return len(self.items)


if __name__ == "__main__":
    stack = Stack()
    stack.push("a")
    stack.push("b")
    print(stack.pop(), len(stack))
