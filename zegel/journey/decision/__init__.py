"""Stop 3: facts in, plan out."""
