"""Addresses of SCIM."""

from __future__ import annotations

from django.urls import path, re_path

from zegel.api import scim

app_name = "scim"

urlpatterns = [
    path(".search", scim.search, name="search_all"),
    path("Users", scim.users, name="users"),
    path("Users/.search", scim.search, name="search"),
    path("Users/<str:number>", scim.user, name="user"),
    path("ServiceProviderConfig", scim.configuration, name="configuration"),
    path("ResourceTypes", scim.resource_types, name="resource_types"),
    path("ResourceTypes/<str:name>", scim.resource_types, name="resource_type"),
    path("Schemas", scim.schemas, name="schemas"),
    path("Schemas/<str:name>", scim.schemas, name="schema"),
    re_path("", scim.nothing, name="nothing"),
]
