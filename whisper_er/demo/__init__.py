"""A page in the browser for one trained model, and its server."""
