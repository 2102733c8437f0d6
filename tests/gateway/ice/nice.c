/* An ICE agent by libnice: writes its description to a file, reads its peer's from another, and sends voice where a pair is valid.
 *
 *     nice MODE PROTOCOL ROLE OWN PEER [TURN-SERVER]
 *
 * MODE is "rfc5245", "wlm2009" or "oc2007r2", PROTOCOL "udp" or "tcp", ROLE "caller" or "called". It prints the selected pair,
 * if there is one, and how many packets it has received.
 */

#include <agent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A voice packet of 20 ms: RTP version 2, payload type 0. */
#define VOICE 172
#define INTERVAL 20
#define PACKETS 150

/* An agent gives up after this time, or when its checks have failed for as long as its peer may need, in milliseconds. */
#define DEADLINE 20000
#define FAILED 2000

static GMainLoop *loop;
static NiceAgent *agent;
static guint stream;
static const char *own, *peer;
static int sent, received, failed_for, waited_for;
static gboolean is_described, is_sending;

static void describe(NiceAgent *gathered, guint id, gpointer data)
{
    gchar *description = nice_agent_generate_local_sdp(agent);
    if (!g_file_set_contents(own, description, -1, NULL))
        exit(2);
    g_free(description);
}

static void receive(NiceAgent *from, guint id, guint component, guint length, gchar *bytes, gpointer data)
{
    if (length == VOICE && (guchar)bytes[0] == 0x80 && bytes[1] == 0)
        received++;
}

static gboolean tick(gpointer data)
{
    gchar *description;
    NiceComponentState state = nice_agent_get_component_state(agent, stream, 1);
    if (!is_described && g_file_get_contents(peer, &description, NULL, NULL)) {
        int candidates = nice_agent_parse_remote_sdp(agent, description);
        if (candidates < 0)
            exit(3);
        g_free(description);
        is_described = TRUE;
    }
    is_sending |= state == NICE_COMPONENT_STATE_READY;
    if (is_sending) {
        char voice[VOICE] = { (char)0x80, 0, (char)(sent >> 8), (char)sent };
        nice_agent_send(agent, stream, 1, VOICE, voice);
        sent++;
    }
    failed_for = state == NICE_COMPONENT_STATE_FAILED ? failed_for + INTERVAL : 0;
    waited_for += INTERVAL;
    if (sent == PACKETS || failed_for > FAILED || waited_for > DEADLINE)
        g_main_loop_quit(loop);
    return TRUE;
}

static const char *type(NiceCandidate *it)
{
    static const char *names[] = { "host", "srflx", "prflx", "relay" };
    return names[it->type];
}

int main(int count, char **arguments)
{
    if (count < 6)
        return 1;
    NiceCompatibility mode = !strcmp(arguments[1], "rfc5245") ? NICE_COMPATIBILITY_RFC5245
        : !strcmp(arguments[1], "wlm2009")                    ? NICE_COMPATIBILITY_WLM2009
                                                              : NICE_COMPATIBILITY_OC2007R2;
    gboolean is_udp = !strcmp(arguments[2], "udp");
    own = arguments[4];
    peer = arguments[5];
    loop = g_main_loop_new(NULL, FALSE);
    agent = nice_agent_new(g_main_loop_get_context(loop), mode);
    g_object_set(agent, "ice-udp", is_udp, "ice-tcp", !is_udp, "upnp", FALSE, "controlling-mode",
        !strcmp(arguments[3], "caller"), "stun-initial-timeout", 100, "stun-max-retransmissions", 5,
        "stun-reliable-timeout", 2000, NULL);
    g_signal_connect(agent, "candidate-gathering-done", G_CALLBACK(describe), NULL);
    stream = nice_agent_add_stream(agent, 1);
    nice_agent_set_stream_name(agent, stream, "audio");
    if (count > 6) {
        g_object_set(agent, "stun-server", arguments[6], "stun-server-port", 3478, NULL);
        if (!nice_agent_set_relay_info(
                agent, stream, 1, arguments[6], 3478, "user", "password", NICE_RELAY_TYPE_TURN_UDP))
            return 4;
    }
    nice_agent_attach_recv(agent, stream, 1, g_main_loop_get_context(loop), receive, NULL);
    if (!nice_agent_gather_candidates(agent, stream))
        return 5;
    g_timeout_add(INTERVAL, tick, NULL);
    g_main_loop_run(loop);

    NiceCandidate *local, *remote;
    if (nice_agent_get_selected_pair(agent, stream, 1, &local, &remote)) {
        gchar here[INET6_ADDRSTRLEN], there[INET6_ADDRSTRLEN];
        nice_address_to_string(&local->addr, here);
        nice_address_to_string(&remote->addr, there);
        printf("pair %s %s %s %s\n", type(local), here, type(remote), there);
    }
    printf("received %d\n", received);
    return 0;
}
