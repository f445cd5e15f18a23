"""Decision: the reasons that a plan is explained with."""

from __future__ import annotations

from zegel.core.policy.wording import Wording


class Why(Wording):
    """Why a row is in the plan, why it is not, and why a plan ends without a delivery."""

    TAKES_INBOUND_DIRECT_DELIVERY = (
        "takes-inbound-direct-delivery",
        "The recipient's organisation takes readable messages (inbound direct delivery).",
        "De organisatie van de ontvanger neemt leesbare berichten aan (inkomende directe bezorging).",
    )
    HAS_ACCOUNT = (
        "has-account",
        "The recipient has an account here with a second factor.",
        "De ontvanger heeft hier een account met een tweede factor.",
    )
    NO_ACCOUNT = (
        "no-account",
        "The recipient has no account here.",
        "De ontvanger heeft hier geen account.",
    )
    NO_SECOND_FACTOR = (
        "no-second-factor",
        "The recipient's account has no second factor yet.",
        "Het account van de ontvanger heeft nog geen tweede factor.",
    )
    METHOD_NOT_PASSED_YET = (
        "method-not-passed-yet",
        "The account shows only that the mailbox is the recipient's; the recipient must first pass the method that is "
        "specified or remembered.",
        "Het account bewijst alleen dat de mailbox van de ontvanger is; de ontvanger moet eerst de opgegeven of "
        "onthouden methode doorlopen.",
    )
    BOTH_COMPLY = (
        "both-comply",
        "Sender and recipient both comply with NTA 7516.",
        "Verzender en ontvanger voldoen beide aan NTA 7516.",
    )
    SENDER_DOES_NOT_COMPLY = (
        "sender-does-not-comply",
        "The sender's domain doesn't comply with NTA 7516.",
        "Het domein van de verzender voldoet niet aan NTA 7516.",
    )
    RECIPIENT_DOES_NOT_COMPLY = (
        "recipient-does-not-comply",
        "The recipient's domain doesn't comply with NTA 7516.",
        "Het domein van de ontvanger voldoet niet aan NTA 7516.",
    )
    MESSAGE_NAMES_METHOD = (
        "message-names-method",
        "The message names this method for the recipient.",
        "Het bericht noemt deze methode voor de ontvanger.",
    )
    MESSAGE_NAMES_NO_METHOD = (
        "message-names-no-method",
        "The message names no method for the recipient.",
        "Het bericht noemt geen methode voor de ontvanger.",
    )
    POLICY_CONTRADICTS_MESSAGE = (
        "policy-contradicts-message",
        "The message names a method that the organisation's policy doesn't allow for this recipient.",
        "Het bericht noemt een methode die het beleid van de organisatie voor deze ontvanger niet toestaat.",
    )
    MESSAGE_ASKS_TRANSPORT = (
        "message-asks-transport",
        "The message asks for direct delivery and the policy permits it.",
        "Het bericht vraagt om directe bezorging en het beleid staat dat toe.",
    )
    DOMAIN_IS_LISTED = (
        "domain-is-listed",
        "The recipient's domain is on the organisation's direct-delivery list.",
        "Het domein van de ontvanger staat op de lijst voor directe bezorging van de organisatie.",
    )
    NOT_ASKED_NOT_LISTED = (
        "not-asked-not-listed",
        "The message doesn't ask for direct delivery and the domain is not on the list.",
        "Het bericht vraagt niet om directe bezorging en het domein staat niet op de lijst.",
    )
    METHOD_GOES_BEFORE_LIST = (
        "method-goes-before-list",
        "The message names a method, so the direct-delivery list doesn't count.",
        "Het bericht noemt een methode, dus de lijst voor directe bezorging telt niet.",
    )
    METHOD_GOES_BEFORE_INBOUND = (
        "method-goes-before-inbound",
        "The message names a method, so the recipient's inbound direct delivery doesn't count.",
        "Het bericht noemt een methode, dus de inkomende directe bezorging van de ontvanger telt niet.",
    )
    POLICY_FORBIDS_TRANSPORT = (
        "policy-forbids-transport",
        "The message asks for direct delivery; the organisation's policy doesn't permit that.",
        "Het bericht vraagt om directe bezorging; het beleid van de organisatie staat dat niet toe.",
    )
    SAME_ROAD_TRIED_BEFORE = (
        "same-road-tried-before",
        "Inbound direct delivery goes to the same servers and demands no more: what fails there fails here.",
        "Inkomende directe bezorging gaat naar dezelfde servers en eist niet meer: wat daar faalt, faalt hier ook.",
    )
    POLICY_DEMANDS_VERIFICATION = (
        "policy-demands-verification",
        "The organisation's policy demands another method of verification for this recipient.",
        "Het beleid van de organisatie eist voor deze ontvanger een andere verificatiemethode.",
    )
    POLICY_FORBIDS_METHOD = (
        "policy-forbids-method",
        "The organisation's policy doesn't allow this method.",
        "Het beleid van de organisatie staat deze methode niet toe.",
    )
    OPENED_BEFORE = (
        "opened-before",
        "The recipient has opened an earlier message from the organisation with this method.",
        "De ontvanger heeft een eerder bericht van de organisatie met deze methode geopend.",
    )
    SUPPLIED = (
        "supplied",
        "Somebody of the organisation entered this method for the recipient.",
        "Iemand van de organisatie heeft deze methode voor de ontvanger ingevuld.",
    )
    NEVER_OPENED = (
        "never-opened",
        "The recipient has not opened a message from the organisation with this method before.",
        "De ontvanger heeft niet eerder een bericht van de organisatie met deze methode geopend.",
    )
    NOTHING_SAFER = (
        "nothing-safer",
        "No safer method is available.",
        "Er is geen veiligere methode beschikbaar.",
    )
    NOTHING_SAFER_AT_LEVEL = (
        "nothing-safer-at-level",
        "No safer method is available; the code travels only at the level that the message asked.",
        "Er is geen veiligere methode beschikbaar; de code reist alleen op het niveau dat het bericht vraagt.",
    )
    MESSAGE_EXCLUDES_EMAIL = (
        "message-excludes-email",
        "The message excludes e-mail verification and no other method is available.",
        "Het bericht sluit e-mailverificatie uit en er is geen andere methode beschikbaar.",
    )
    NOT_REACHED = (
        "not-reached",
        "A row before this one ends the plan.",
        "Een eerdere regel beëindigt het plan.",
    )
    LACKS_WHAT_POLICY_DEMANDS = (
        "lacks-what-policy-demands",
        "The organisation's policy demands a method for which nothing is known about the recipient.",
        "Het beleid van de organisatie eist een methode waarvoor van de ontvanger niets bekend is.",
    )
    NO_METHOD_ALLOWED = (
        "no-method-allowed",
        "The organisation's policy leaves no method of verification for this recipient.",
        "Het beleid van de organisatie laat voor deze ontvanger geen verificatiemethode over.",
    )
