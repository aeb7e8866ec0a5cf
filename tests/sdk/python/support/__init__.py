"""What the tests are made of: a server, a hop in front of it, clients with journals, tokens."""
