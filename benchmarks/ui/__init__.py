"""How quickly the app answers: one person in a real browser, and a class of simulated ones."""
