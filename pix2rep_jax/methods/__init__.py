"""One file a method: what is trained, and by which loss."""
