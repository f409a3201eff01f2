"""A stack with one line to be completed: `codegemma complete examples/stack.py:9`."""


class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self

    def is_empty(self):
        return len(self.items) == 0

    def pop(self):
        return self.items.pop()

    def __len__(self):
        return len(self.items)


if __name__ == "__main__":
    stack = Stack()
    stack.push("a")
    stack.push("b")
    print(stack.pop(), len(stack))
