"""Real peer programs for the tests: each is found, started, waited for and ended here."""
