"""The migrations of the store, run by `fairlead migrate`."""
