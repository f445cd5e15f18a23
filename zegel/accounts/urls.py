"""Addresses of signing in and of one's own security. Only what is offered: no sign-up, no reset by mail."""

from __future__ import annotations

from allauth.account import views
from django.urls import include, path
from django.views.generic import TemplateView

urlpatterns = [
    path("sign-in/", views.login, name="account_login"),
    path("sign-out/", views.logout, name="account_logout"),
    path("inactive/", views.account_inactive, name="account_inactive"),
    path("confirm/", views.reauthenticate, name="account_reauthenticate"),
    path("password/", views.password_change, name="account_change_password"),
    path(
        "password/forgotten/",
        TemplateView.as_view(template_name="account/password_reset.html"),
        name="account_reset_password",
    ),
    path("security/", include("allauth.mfa.urls")),
]
