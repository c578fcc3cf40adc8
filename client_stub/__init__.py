"""What a calling service uses: typed clients, typed errors, `charge`, and the `iap` command.

client_stub.broker      BrokerClient: reserve, capture, release
client_stub.charge      charge: the three of them as one `async with`
client_stub.provider    ProviderClient: use a service
client_stub.accounts    AccountClient          client_stub.catalog    CatalogClient
client_stub.purchases   PurchaseClient         client_stub.admin      AdminClient
client_stub.settlement  SettlementClient       client_stub.events     EventClient
client_stub.webhooks    verify: is this delivery the broker's?
client_stub.errors      IapError and what it branches into
client_stub.channel     open_channel: one connection that several clients share
"""
