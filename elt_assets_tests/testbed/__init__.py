"""Real servers, installations and watchers that the tests start from."""
