"""`janus-md`: one module per sub-command, torch imported inside the commands only."""
