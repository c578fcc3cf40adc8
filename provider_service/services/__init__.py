"""The services a provider sells; each is one module that fulfils `service.Service`."""
