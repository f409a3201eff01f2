"""`python -m keras_codegemma` is the `codegemma` command."""

from keras_codegemma.cli import main

if __name__ == "__main__":
    main()
