"""The call service: providers, prices, tokens, and the rows that make a call happen once."""
