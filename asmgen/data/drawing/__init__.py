"""Pictures drawn from a random state: cats, dogs, digits."""
