"""Evidence: clocks, exact memory, the machine's own ceilings, intervals, and the ledger that keeps them."""
