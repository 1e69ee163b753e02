"""Data: files in, tokens, and batches; the only readers of data files."""
