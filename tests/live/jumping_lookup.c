/*
 * Leaves getaddrinfo() by siglongjmp() while it waits, as old programs do that have a time limit for it. Then the same thread
 * asks for another name without the library, in a DNS query of its own; then it looks a third name up.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netdb.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static sigjmp_buf back;

static void leave(int number)
{
	siglongjmp(back, number);
}

static void query(const char *server, const char *label)
{
	unsigned char message[512] = {0x12, 0x34, 1, 0, 0, 1};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
	size_t at = 12, length = strlen(label);
	int udp = socket(AF_INET, SOCK_DGRAM, 0);

	message[at++] = length;
	memcpy(message + at, label, length);
	at += length;
	message[at++] = 4;
	memcpy(message + at, "test", 4);
	at += 5; /* the root's empty label */
	message[at + 1] = message[at + 3] = 1; /* A, IN */
	inet_pton(AF_INET, server, &to.sin_addr);
	sendto(udp, message, at + 4, 0, (struct sockaddr *)&to, sizeof(to));
	if (recv(udp, message, sizeof(message), 0) > 0)
		puts("\"answered\"");
	close(udp);
}

int main(int count, char **arguments)
{
	struct addrinfo *found;

	(void)count;
	signal(SIGALRM, leave);
	if (!sigsetjmp(back, 1)) {
		ualarm(50000, 0); /* before nettop's next tick, as a rule */
		getaddrinfo("silent-1.test", "80", NULL, &found);
	}
	query(arguments[1], "direct");
	getaddrinfo("localhost", "80", NULL, &found);
	return 0;
}
