"""Ground floor: errors, typed options and the registry that every other floor stands on."""
