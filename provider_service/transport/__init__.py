"""The RPCs of iap.provider.v1.ProviderService: requests in, answers out, no rules."""
