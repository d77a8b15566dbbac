"""The room of FiftyOne: the child process that has it, and what both sides of that wall know."""
