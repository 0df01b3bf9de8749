"""From a survey image to the input of a network."""
