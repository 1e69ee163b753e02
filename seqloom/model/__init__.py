"""The contract of sequence mixers, and what is built on it: blocks, backbones, frontends, heads, models, generation."""
