"""sat2map."""
