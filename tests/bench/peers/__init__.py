"""The toolkits that are compared."""
