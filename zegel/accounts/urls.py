"""Addresses of signing in and of one's own security. Making an account and forgotten passwords are the portal's: both
send mail."""

from __future__ import annotations

from allauth.account import views
from django.urls import include, path
from django.views.generic import RedirectView

from zegel.accounts import identity_pages, look_pages

urlpatterns = [
    path("sign-in/", views.login, name="account_login"),
    path("organisation/", identity_pages.start, name="identity_start"),
    path("organisation/<uuid:provider>/", identity_pages.answer, name="identity_answer"),
    path("organisation/<uuid:provider>/saml/", identity_pages.saml, name="identity_saml"),
    path("organisation/<uuid:provider>/saml/finish/", identity_pages.saml_finish, name="identity_saml_finish"),
    path("organisation/<uuid:provider>/saml/metadata/", identity_pages.saml_metadata, name="identity_saml_metadata"),
    path("sign-out/", views.logout, name="account_logout"),
    path("inactive/", views.account_inactive, name="account_inactive"),
    path("confirm/", views.reauthenticate, name="account_reauthenticate"),
    path("password/", views.password_change, name="account_change_password"),
    path(
        "password/forgotten/",
        RedirectView.as_view(pattern_name="portal:forgotten"),
        name="account_reset_password",
    ),
    path(
        "password/none/",  # who signs in by their organisation has none to change
        RedirectView.as_view(pattern_name="portal:forgotten"),
        name="account_set_password",
    ),
    path("security/", include("allauth.mfa.urls")),
    path("look/<str:name>.css", look_pages.sheet, name="look_sheet"),
    path("look/<str:name>.png", look_pages.logo, name="look_logo"),
]
