"""The model's processes as the front sees them: started, watched, ended, and spoken to."""
