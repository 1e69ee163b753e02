"""Training: experiments as values, the loop, and what lets it go on after anything."""
