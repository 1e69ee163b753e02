"""Named sources, one a file: where public data come from, their licence, whom to cite, and how tasks read them."""
