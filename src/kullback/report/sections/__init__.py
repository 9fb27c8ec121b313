"""The sections of the report, one function each: it computes, and returns plans, numbers and pictures."""
