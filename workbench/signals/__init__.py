"""Learning signals: what drives the learnables. Each is a function to a scalar tensor."""
