"""Access tokens: those that the hub gives out itself, and those of an outside issuer."""
