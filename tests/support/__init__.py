"""What tests of several rooms need: real programs, started and stopped."""
