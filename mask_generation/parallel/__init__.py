"""The same jobs over processes of this machine or over a Ray cluster."""
