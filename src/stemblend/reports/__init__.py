"""Tables, statistics and figures of scores."""
