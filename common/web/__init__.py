"""How the program asks any web server: one connection, patience with restarts and throttling, plain errors."""
