"""Steps that need data, after the draws: names with arguments that change layers in order."""
