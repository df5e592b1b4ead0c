"""The command line: a face of the SDK that knows the server over HTTP only."""
