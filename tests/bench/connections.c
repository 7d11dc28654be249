// Short TCP connections at a rate, or as fast as they go: `connections COUNT RATE SECONDS`. RATE 0 is as fast as it
// goes; it ends after COUNT connections or SECONDS, whichever comes first. No scripting language makes enough of them.
//
// The number of a connection is the address that it goes to, 127.1.0.0 + number (all of 127/8 is local), so that none
// waits for another one's TIME_WAIT and whoever watches can tell which ones were seen. The client closes first.
// Says {"offered", "seconds", "client", "server"}, the last two being pids, when the server has closed its last end.
#include <arpa/inet.h>
#include <err.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PORT 7000
#define FIRST 0x7f010000u // 127.1.0.0
#define BACKLOG 4096

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

// A connection to STOP, which is none of those that are counted, ends it.
static void serve(int listener)
{
	char byte;

	for (;;) {
		struct sockaddr_in local;
		socklen_t size = sizeof(local);
		int end = accept(listener, NULL, NULL);

		if (end < 0)
			err(1, "accept");
		getsockname(end, (struct sockaddr *)&local, &size);
		while (read(end, &byte, 1) > 0)
			;
		close(end);
		if (local.sin_addr.s_addr == htonl(INADDR_LOOPBACK))
			exit(0);
	}
}

static void meet(uint32_t address)
{
	struct sockaddr_in far = { .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(address) };
	int end = socket(AF_INET, SOCK_STREAM, 0);

	if (end < 0 || connect(end, (struct sockaddr *)&far, sizeof(far)) < 0)
		err(1, "connect");
	close(end);
}

static void wait_until(uint64_t due_ns)
{
	struct timespec due = { .tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000 };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

int main(int argc, char **argv)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
	uint64_t count, rate, begun_ns, end_ns, number;
	pid_t server;

	if (argc != 4)
		errx(2, "usage: connections COUNT RATE SECONDS");
	count = strtoull(argv[1], NULL, 10);
	rate = strtoull(argv[2], NULL, 10);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(listener, (struct sockaddr *)&any, sizeof(any)) || listen(listener, BACKLOG))
		err(1, "port %d", PORT);
	server = fork();
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(listener);
	}
	close(listener);
	begun_ns = now_ns();
	end_ns = begun_ns + (uint64_t)(strtod(argv[3], NULL) * 1e9);
	for (number = 0; number < count && now_ns() < end_ns; number++) {
		if (rate && now_ns() < begun_ns + number * 1000000000 / rate)
			wait_until(begun_ns + number * 1000000000 / rate);
		meet(FIRST + number);
	}
	end_ns = now_ns();
	meet(INADDR_LOOPBACK);
	waitpid(server, NULL, 0);
	printf("{\"offered\": %lu, \"seconds\": %.6f, \"client\": %d, \"server\": %d}\n", (unsigned long)number,
	       (end_ns - begun_ns) / 1e9, getpid(), server);
	return 0;
}
