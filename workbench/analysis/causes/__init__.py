"""Why a layer suffers: one file for each cause, each established by a measured counterfactual."""
