"""The served state: a fold of the log, asked for decisions and told what comes of them."""
