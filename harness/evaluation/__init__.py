"""One side of a run, from its prompts to its metrics, and the stages that come before and after it."""
