"""From repositories to packed fill-in-the-middle training examples."""
