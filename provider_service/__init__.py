"""The provider: serves requests to the services it sells and charges their customers through the broker."""
