"""What holds requests for services that sleep until they are awake: a process of its own."""
