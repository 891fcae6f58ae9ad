"""Asks the API as a Python program does, with gql: the client's calls are made of the schema that the server tells.

gql_client.py URL AUTHORIZATION SENDER RCPT; prints the ID of the e-mail that was sent.
"""
import asyncio
import sys

from gql import Client, gql
from gql.dsl import DSLMutation, DSLQuery, DSLSchema, DSLSubscription, DSLVariableDefinitions, dsl_gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.requests import RequestsHTTPTransport
from gql.transport.websockets import WebsocketsTransport

url, authorization, sender, rcpt = sys.argv[1:]
headers = {"Authorization": authorization}


def over_http():
    client = Client(transport=RequestsHTTPTransport(url=url, headers=headers), fetch_schema_from_transport=True)
    with client as session:
        ds = DSLSchema(client.schema)
        arguments = {"from": sender, "to": [rcpt], "subject": "Hello", "textBody": "Hi", "tags": ["gql"],
                     "metadata": [{"name": "order", "value": "7"}], "idempotencyKey": "gql-1"}
        send = dsl_gql(DSLMutation(ds.Mutation.sendEmail(**arguments)))
        first, again = session.execute(send)["sendEmail"], session.execute(send)["sendEmail"]
        assert first == again, (first, again)
        variables = DSLVariableDefinitions()
        query = DSLQuery(ds.Query.email(id=variables.id).select(
            ds.Email.state, ds.Email.tags, ds.Email.createdAt,
            ds.Email.recipients.select(ds.Recipient.address, ds.Recipient.state)))
        query.variable_definitions = variables
        request = dsl_gql(query)
        request.variable_values = {"id": first}
        email = session.execute(request)["email"]
        assert email["tags"] == ["gql"] and email["recipients"][0]["address"] == rcpt, email
        try:
            session.execute(gql("mutation { cancelEmail(id: \"0123456789abcdefghjkmnpqrs\") { id } }"))
        except TransportQueryError as error:
            assert error.errors[0]["extensions"]["code"] == "NOT_FOUND", error.errors
        else:
            raise AssertionError("an e-mail that never was")
    return client.schema, first


async def over_websocket(schema, email):
    transport = WebsocketsTransport(url=url.replace("http://", "ws://"), init_payload=headers,
                                    subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL])
    async with Client(transport=transport, schema=schema) as session:
        ds = DSLSchema(schema)
        listen = dsl_gql(DSLSubscription(ds.Subscription.deliveryEvents(after="evt_0_1", emailId=email).select(
            ds.DeliveryEvent.id, ds.DeliveryEvent.type, ds.DeliveryEvent.recipient)))
        types = []
        async for answer in session.subscribe(listen):
            types.append(answer["deliveryEvents"]["type"])
            if types[-1] == "DELIVERED":
                break
        assert types[0] == "ACCEPTED", types


schema, email = over_http()
asyncio.run(asyncio.wait_for(over_websocket(schema, email), 60))
print(email)
