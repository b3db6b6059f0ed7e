"""One large tenant: a first sync, one without any change, one with a hundredth changed."""
