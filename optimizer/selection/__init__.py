"""Rules and money: from predictions to the logged distribution and the draw."""
