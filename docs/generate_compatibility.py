"""Write `docs/compatibility.md`: every public member as kept, extended or changed, with its test.

    python docs/generate_compatibility.py [--check]

Each row names the member, the verdict against the first design of this API, the reason, and the
test that holds it. The script fails when a member or a test of the table does not exist, so the page
cannot promise what is not there. With `--check` it also fails when the page is stale.
"""

# ruff: noqa: E501 - a table is read in rows

from __future__ import annotations

import dataclasses
import importlib
import re
import sys

from generate_files import DOCS, write_or_check

ROOT = DOCS.parent

KEPT, EXTENDED, CHANGED = "kept", "extended", "changed"

CALL, AUDIO, SUB = "tests/rtp/test_call.py", "tests/test_audio.py", "tests/test_subclassing.py"
SIP, SESSION, HOOKS = (
    "tests/sip/test_protocol.py",
    "tests/sip/test_session.py",
    "tests/test_hooks.py",
)
PACKET, RTP = "tests/rtp/test_packet.py", "tests/rtp/test_protocol.py"
STATUS, CONTRACT = "tests/sip/test_status.py", "tests/test_contract.py"
BASE, REGISTRY = "tests/codecs/test_base.py", "tests/codecs/test_registry.py"
G711, L16 = "tests/codecs/test_g711.py", "tests/codecs/test_l16.py"

# (member, verdict, reason, file of the test, name of the test)
ROWS = {
    "voip.rtp.call:RTPCall": [
        ("rtp", KEPT, "", SUB, "fields_are_those_of_the_contract"),
        ("sip", EXTENDED, "any signalling, or None on raw RTP", CALL,
         "hanging_up_without_signalling_just_stops"),
        ("media", KEPT, "", AUDIO, "the_codec_comes_from_the_first_format"),
        ("caller", EXTENDED, "a plain str is taken, and masked all the same", CALL,
         "the_repr_names_class_and_call_and_hides_the_number"),
        ("srtp", KEPT, "", CALL, "a_packet_is_encrypted_when_there_are_keys"),
        ("wire", EXTENDED, "the leg's own port, set by the engine", CALL,
         "without_rtp_the_wire_takes_the_packet"),
        ("packet_received", KEPT, "", AUDIO, "each_packet_is_decoded_before_the_call_returns"),
        ("send_packet", EXTENDED, "by the wire where there is no UDP", CALL,
         "a_packet_is_serialised_and_sent_once"),
        ("hang_up", CHANGED, "it works: BYE, CANCEL or a final response, by state", SIP,
         "dials_and_hangs_up"),
        ("negotiate_codec", KEPT, "", CALL, "the_base_negotiates_no_codec"),
        ("call_started", EXTENDED, "new hook", CALL, "hooks_do_nothing_by_default"),
        ("call_ended", EXTENDED, "new hook, with cause, status and phrase", CALL,
         "the_end_is_one_line_of_json"),
        ("dtmf_received", EXTENDED, "new hook; fires in a later release", CALL,
         "hooks_do_nothing_by_default"),
        ("hook_failed", EXTENDED, "new hook", HOOKS, "a_failing_hook_is_counted_and_handed_over"),
    ],
    "voip.audio:AudioCall": [
        ("PREFERRED_CODECS", KEPT, "", AUDIO,
         "the_best_preferred_codec_wins_whatever_the_order_of_the_offer"),
        ("RESAMPLING_RATE_HZ", KEPT, "", CONTRACT, "the_rate_of_the_hook_can_be_changed"),
        ("RTP_PACKET_DURATION_SECS", KEPT, "", CONTRACT,
         "the_packet_time_of_the_class_is_what_it_sends"),
        ("codec", KEPT, "", AUDIO, "the_codec_comes_from_the_first_format"),
        ("payload_type", CHANGED, "the number negotiated, not the codec's usual one", AUDIO,
         "the_negotiated_number_counts_and_not_the_codecs_usual_one"),
        ("sample_rate", KEPT, "", AUDIO, "a_clock_rate_that_is_absent_is_8000"),
        ("rtp_sequence_number", CHANGED, "random once an engine adopts the leg (RFC 3550 §5.1);"
         " counts without wrapping", AUDIO, "numbers_begin_at_zero_and_the_source_is_random"),
        ("rtp_timestamp", CHANGED, "runs through silence", AUDIO,
         "the_timestamp_runs_through_silence_and_the_marker_follows_it"),
        ("rtp_ssrc", KEPT, "", AUDIO, "numbers_begin_at_zero_and_the_source_is_random"),
        ("negotiate_codec", CHANGED, "a dynamic number without rtpmap is refused", AUDIO,
         "a_dynamic_number_means_only_what_its_rtpmap_says"),
        ("packet_received", CHANGED, "reorders and conceals through the jitter buffer", AUDIO,
         "empty_payloads_are_ignored"),
        ("decode_payload", CHANGED, "the call's own stateful decoder, exactly 320 samples", AUDIO,
         "wideband_pcma_is_decoded_at_the_rate_of_the_sdp"),
        ("audio_received", EXTENDED, "at frame rate from the first packet to the end", AUDIO,
         "each_packet_is_decoded_before_the_call_returns"),
        ("emit_audio", CHANGED, "no task per packet: one task, and only where it is overridden",
         AUDIO, "an_overridden_emit_audio_is_awaited_in_order_by_one_task"),
        ("send_rtp_audio", CHANGED, "paced on a clock of its own, calls queue, the last partial"
         " frame is padded", AUDIO, "audio_is_packetised_and_paced_without_drift"),
        ("send_silence", EXTENDED, "new", SESSION, "sends_silence_from_the_answer_on"),
        ("next_rtp_packet", KEPT, "", AUDIO,
         "next_rtp_packet_counts_without_wrapping_and_wraps_on_the_wire"),
        ("resample", KEPT, "", AUDIO, "resampling_keeps_the_object_or_gives_the_rounded_length"),
        ("cancel_audio", EXTENDED, "new", AUDIO, "cancel_audio_drops_everything_that_waits"),
        ("played_samples", EXTENDED, "new", AUDIO, "cancel_audio_drops_everything_that_waits"),
    ],
    "voip.audio:VoiceActivityCall": [
        ("speech_threshold", CHANGED, "the least threshold: it follows the noise floor", AUDIO,
         "a_noisy_line_is_not_speech_for_ever"),
        ("silence_gap", KEPT, "in media time on a leg with an engine", AUDIO,
         "speech_is_collected_and_handed_over_after_the_gap"),
        ("min_speech", CHANGED, "0.1 s: short utterances are heard", AUDIO,
         "a_click_is_no_utterance_and_pre_roll_stays"),
        ("speech_buffer", KEPT, "", AUDIO,
         "frames_put_into_the_buffer_by_hand_count_as_speech"),
        ("silence_handle", KEPT, "", AUDIO, "a_handle_set_by_hand_is_cancelled"),
        ("collect_audio", KEPT, "", AUDIO, "collect_audio_asked_from_outside_goes_by_the_threshold"),
        ("on_audio_speech", KEPT, "", AUDIO, "the_flush_is_armed_once_and_off_when_speech_comes_back"),
        ("on_audio_silence", KEPT, "", AUDIO,
         "the_flush_is_armed_once_and_off_when_speech_comes_back"),
        ("flush_speech_buffer", KEPT, "", AUDIO,
         "flushing_by_hand_never_drops_and_an_empty_buffer_hands_over_nothing"),
        ("speech_buffer_ready", KEPT, "", AUDIO, "utterances_are_handed_over_one_by_one"),
        ("speech_started", EXTENDED, "new hook", AUDIO,
         "speech_is_collected_and_handed_over_after_the_gap"),
        ("speech_ended", EXTENDED, "new hook", AUDIO,
         "speech_is_collected_and_handed_over_after_the_gap"),
    ],
    "voip.audio:EchoCall": [
        ("speech_buffer_ready", CHANGED, "keeps pauses, pre-roll and tail", AUDIO,
         "the_echo_keeps_pre_roll_pauses_and_tail"),
    ],
    "voip.codecs.base:RTPCodec": [
        ("payload_type", KEPT, "", L16, "constants"),
        ("encoding_name", KEPT, "", L16, "constants"),
        ("sample_rate_hz", KEPT, "", L16, "constants"),
        ("rtp_clock_rate_hz", KEPT, "", L16, "constants"),
        ("frame_size", KEPT, "", L16, "constants"),
        ("timestamp_increment", KEPT, "", L16, "the_step_is_the_rate_and_no_packet_passes_the_mtu"),
        ("channels", KEPT, "", L16, "stereo_is_heard_as_the_mean_and_sent_twice"),
        ("decode", CHANGED, "G.711 is bit-exact with ITU-T G.191", G711,
         "all_65536_samples_and_256_codes_are_those_of_g191"),
        ("encode", CHANGED, "G.711 is bit-exact with ITU-T G.191", G711,
         "all_65536_samples_and_256_codes_are_those_of_g191"),
        ("packetize", CHANGED, "the last partial frame is padded", BASE,
         "the_last_packet_is_padded_with_silence"),
        ("to_payload_format", KEPT, "", BASE, "the_usual_format_is_the_class_itself"),
        ("resample", KEPT, "", AUDIO, "resampling_keeps_the_object_or_gives_the_rounded_length"),
        ("for_format", EXTENDED, "new: other rates, packet times, channels", BASE,
         "the_packet_time_of_the_peer_is_honoured"),
        ("create_decoder", EXTENDED, "new: the state of one call", BASE,
         "the_resampler_runs_on_across_packets"),
        ("create_encoder", EXTENDED, "new: the state of one call", BASE,
         "a_custom_codec_is_wrapped"),
    ],
    "voip.codecs": [
        ("REGISTRY", KEPT, "", REGISTRY, "the_registry_is_what_this_installation_has"),
        ("get", KEPT, "", REGISTRY, "an_unknown_name_is_told_what_is_supported"),
    ],
    "voip.sip.protocol:SessionInitiationProtocol": [
        ("aor", KEPT, "", SIP, "a_bad_aor_is_refused_at_once"),
        ("username", KEPT, "", CONTRACT,
         "an_account_goes_by_its_proxy_with_what_the_aor_says_and_logs_no_secret"),
        ("password", KEPT, "", SIP, "the_password_is_nowhere_in_the_repr"),
        ("outbound_proxy", KEPT, "", CONTRACT,
         "an_account_goes_by_its_proxy_with_what_the_aor_says_and_logs_no_secret"),
        ("rtp_stun_server_address", CHANGED, "None: nobody outside is asked unless told to", CONTRACT,
         "fields_have_the_defaults_of_the_contract"),
        ("call_received", EXTENDED, "may be async", SIP, "an_async_hook_may_await_the_answer"),
        ("ringing", EXTENDED, "by position too", SIP, "the_caller_gives_up"),
        ("answer", EXTENDED, "starts at once; awaitable and a coroutine", SIP,
         "every_way_to_wait_for_an_answer_yields_the_leg"),
        ("reject", KEPT, "", SIP, "rejects_with_status_and_phrase"),
        ("dial", EXTENDED, "new", SESSION, "dial_yields_the_leg_that_was_agreed_on"),
        ("ack_received", KEPT, "", SIP, "taps_see_every_message"),
        ("bye_received", KEPT, "", SIP, "taps_see_every_message"),
        ("cancel_received", KEPT, "", SIP, "taps_see_every_message"),
        ("request_received", KEPT, "", SIP, "taps_see_every_message"),
        ("response_received", KEPT, "", SIP, "taps_see_every_message"),
        ("registered", KEPT, "", CONTRACT, "serving_begins_once_registered_and_ends_by_unregistering"),
        ("register", KEPT, "", CONTRACT, "a_register_that_is_lost_is_sent_again"),
        ("hook_failed", EXTENDED, "new hook", SIP, "a_hook_that_raises_is_500_and_counted"),
        ("send", KEPT, "", SIP, "taps_see_every_message"),
        ("close", KEPT, "", SIP, "leaving_ends_calls_with_bye"),
        ("serve", EXTENDED, "new", CONTRACT,
         "serving_begins_once_registered_and_ends_by_unregistering"),
        ("run", KEPT, "", CONTRACT, "run_serves_until_a_signal"),
        ("connection_made", KEPT, "adopts one asyncio transport", SIP,
         "the_object_adopts_a_connection"),
        ("data_received", KEPT, "", SIP, "the_object_adopts_a_connection"),
        ("datagram_received", KEPT, "", SIP, "the_object_adopts_a_datagram_endpoint"),
        ("eof_received", KEPT, "", SIP, "the_object_adopts_a_connection"),
        ("error_received", KEPT, "", SIP, "the_object_adopts_a_datagram_endpoint"),
        ("pause_writing", KEPT, "", SIP, "the_object_adopts_a_connection"),
        ("resume_writing", KEPT, "", SIP, "the_object_adopts_a_connection"),
        ("connection_lost", KEPT, "", SIP, "the_object_adopts_a_connection"),
    ],
    "voip.rtp.protocol:RealtimeTransportProtocol": [
        ("calls", KEPT, "", CALL, "the_remote_address_is_the_key_in_calls"),
        ("register_call", CHANGED, "an address that another live call holds raises",
         RTP, "an_address_that_a_live_call_holds_is_refused"),
        ("unregister_call", KEPT, "", RTP, "unregistering_is_silent_when_there_is_nothing"),
        ("public_address", KEPT, "", RTP, "the_public_address_is_the_local_one_when_stun_is_off"),
        ("send", KEPT, "", RTP, "sends_through_the_transport_that_it_was_given"),
    ],
    "voip.rtp.packet": [
        ("RTPPacket", EXTENDED, "CSRC, extension, padding", PACKET,
         "reads_sources_extension_and_padding"),
        ("RTPPayloadType", KEPT, "", PACKET, "payload_types_are_numbers"),
    ],
    "voip.rtp.packet:RTPPacket": [
        (name, KEPT, "", CONTRACT, "packets_and_descriptions_take_their_values_in_order")
        for name in ("payload_type", "sequence_number", "timestamp", "ssrc", "payload", "marker",
                     "parse")
    ] + [
        ("csrc", EXTENDED, "new", CONTRACT, "packets_and_descriptions_take_their_values_in_order"),
        ("extension", EXTENDED, "new", PACKET, "reads_sources_extension_and_padding"),
    ],
    "voip.sip.messages": [
        ("Message", EXTENDED, "round-trips; folding and compact forms", CONTRACT,
         "messages_give_text_and_a_description"),
        ("Request", KEPT, "", CONTRACT, "messages_give_text_and_a_description"),
        ("Response", KEPT, "", "tests/sip/test_torture.py",
         "response_is_dropped_when_it_is_wrong"),
    ],
    "voip.sip.types": [
        ("SipURI", KEPT, "", "tests/sip/test_uri.py", "every_part_is_read"),
        ("CallerID", KEPT, "", CONTRACT, "a_caller_is_a_str_that_hides_its_number"),
        ("Status", KEPT, "", STATUS, "statuses_are_numbers_with_phrases"),
        ("DigestAlgorithm", EXTENDED, "SHA-256, SHA-512-256, -sess", STATUS,
         "digest_words_are_those_of_the_wire"),
        ("DigestQoP", KEPT, "", STATUS, "digest_words_are_those_of_the_wire"),
    ],
    "voip.sdp.messages": [
        ("SessionDescription", KEPT, "", "tests/sdp/test_messages.py", "reads_every_line"),
    ],
    "voip.sdp.types": [
        ("MediaDescription", KEPT, "", "tests/sdp/test_types.py", "reads_a_section"),
        ("RTPPayloadFormat", KEPT, "", "tests/sdp/test_types.py", "reads_a_section"),
        ("ConnectionData", KEPT, "", "tests/sdp/test_types.py",
         "connection_data_know_their_family"),
        ("Origin", KEPT, "", "tests/sdp/test_types.py", "an_origin_may_have_blanks_in_its_name"),
        ("Timing", KEPT, "", "tests/sdp/test_types.py", "timings"),
        ("Attribute", KEPT, "", "tests/sdp/test_types.py",
         "attributes_tell_no_value_from_an_empty_one"),
    ],
    "voip.sdp.types:MediaDescription": [
        (name, KEPT, "", CONTRACT, "packets_and_descriptions_take_their_values_in_order")
        for name in ("media", "port", "proto", "fmt", "attributes", "connection")
    ],
    "voip.sdp.types:RTPPayloadFormat": [
        (name, KEPT, "", CONTRACT, "packets_and_descriptions_take_their_values_in_order")
        for name in ("payload_type", "encoding_name", "sample_rate", "channels", "fmtp")
    ],
    "voip.errors": [
        ("RegistrationError", KEPT, "", CONTRACT,
         "a_refusal_of_the_registrar_is_a_registration_error_in_its_own_words"),
        ("CallFailed", EXTENDED, "new", CONTRACT, "a_call_that_is_refused_is_logged_with_the_callee"),
        ("CallEnded", EXTENDED, "new", CONTRACT, "a_caller_who_gave_up_is_call_ended"),
        ("NegotiationError", EXTENDED, "new; a codec that is not supported is a NotImplementedError"
         " as before", CONTRACT, "an_answer_that_nobody_reads_says_nothing"),
        ("ParseError", KEPT, "a ValueError as well", CONTRACT,
         "messages_give_text_and_a_description"),
    ],
    "voip": [
        ("SIP", KEPT, "", CONTRACT, "the_short_names_are_the_long_ones"),
        ("RTP", KEPT, "", CONTRACT, "the_short_names_are_the_long_ones"),
        ("blocking", EXTENDED, "new", HOOKS, "blocking_hooks_run_in_the_calls_own_thread_in_order"),
    ],
}  # fmt: skip

INTRODUCTION = """
# Compatibility

Made by `docs/generate_compatibility.py`. The names and shapes of the public API come from a first
design of it; this is what became of each: **kept** as it was, **extended** (what worked still works), or
**changed** on purpose, with the reason and the test that holds it. How subclasses may be written is held by
`tests/test_subclassing.py`, and when hooks run by `tests/test_hooks.py`.

The legs that transcribe and converse come with a later release; their changes will be listed here.
""".lstrip()


def owner_of(name: str) -> object:
    """Return the module or class of a section."""
    module, _, attribute = name.partition(":")
    found: object = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def has(owner: object, member: str) -> bool:
    """Tell whether a member is there: an attribute, or a field without a default."""
    if hasattr(owner, member):
        return True
    if dataclasses.is_dataclass(owner):
        return member in {field.name for field in dataclasses.fields(owner)}
    if isinstance(owner, type) and any(
        member in vars(base).get("__annotations__", {}) for base in owner.__mro__
    ):
        return True
    return member == "calls"  # set by the constructor of an object that is no dataclass


def complaints() -> list[str]:
    """Return what the table promises and the house does not hold."""
    found = []
    for section, rows in ROWS.items():
        owner = owner_of(section)
        for member, _, _, file, test in rows:
            if not has(owner, member):
                found.append(f"{section} has no {member}")
            path = ROOT / file
            words = path.read_text() if path.exists() else ""
            if not re.search(rf"def test_{test}\(", words):
                found.append(f"{section} {member}: no test_{test} in {file}")
    return found


def page() -> str:
    """Return the page."""
    lines = [INTRODUCTION]
    for section, rows in ROWS.items():
        title = section.replace(":", ".").replace(".audio.call.", ".audio.")
        lines += [f"## {title}", "", "| member | | reason | test |", "| --- | --- | --- | --- |"]
        for member, verdict, reason, file, test in rows:
            lines.append(f"| `{member}` | {verdict} | {reason} | `{file}::test_{test}` |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(write_or_check({DOCS / "compatibility.md": page()}, complaints()))
